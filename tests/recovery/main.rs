//! What is promised of crashes and outages, tried out.
