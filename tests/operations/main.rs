//! kipuka as its operator sees it: the command line, reload, the documented ways.
