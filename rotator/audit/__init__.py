"""The audit trail: the port in `base`, the chained file in `jsonl`, its checker in `chain`."""
