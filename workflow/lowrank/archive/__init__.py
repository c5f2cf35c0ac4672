"""A run as an archive: what is packed, and a description that needs no repository to be read."""
