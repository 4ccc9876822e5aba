"""Showing a scan, a plan, a list or a result: as text for people, as JSON for programs."""
