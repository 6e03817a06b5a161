"""The written format of policies as pydantic models: `policy` is the whole, `places` the parts that name
something outside, `values` the kinds of single values."""
