"""A content-addressed asset cache with a lockfile."""
