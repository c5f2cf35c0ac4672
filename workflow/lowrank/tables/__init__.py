"""The thesis's tables, one module each; `typesetting` holds what they share."""
