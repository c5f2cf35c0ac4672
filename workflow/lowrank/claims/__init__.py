"""Claims of the thesis: statistics over results, verdicts, and the ledger of all of them."""
