//! Config → store, authorities, validator, routers, workers; and all of that again on reload.
