"""The reproduction report: the facts it states, and the document."""
