-- Temporal's own two databases, beside the application's. Its role reaches nothing else.
CREATE ROLE temporal LOGIN;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
