"""The store's schema, step by step. A step that was published is never changed; a new one follows it."""
