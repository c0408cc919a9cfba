"""Where sentences are written and judged: in this process, or in workers on a Ray cluster."""
