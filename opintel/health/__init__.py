"""Machines and services: thousands of metric series at once, judged against their own past."""
