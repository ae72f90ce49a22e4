"""What a result is: schema, store, metadata, verification."""
