"""The report of a run: one page of HTML that is whole by itself."""
