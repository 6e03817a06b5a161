"""The long-running rotator: looks at every policy in time, rotates what is due, goes on with what rests."""
