"""The article: its data model, its forms as JSON and protobuf, and its edits."""
