"""What each page shows: what was found out in, values for its template out. Pure, a file for each page."""
