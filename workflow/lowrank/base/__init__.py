"""What every stage uses: errors, files, provenance, statistics, what the thesis prints."""
