"""Nothing is shared by default; what a room's tests share lies in that room, or in tests/support."""
