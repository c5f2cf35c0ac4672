"""From results to tables of a study: scores with paired differences, measurements with slopes."""
