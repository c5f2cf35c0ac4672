"""lm-eval's requests with every shared token computed once."""
