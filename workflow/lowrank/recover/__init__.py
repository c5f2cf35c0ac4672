"""From weights to factors, and from factors to a compressed model, its loading and its export."""
