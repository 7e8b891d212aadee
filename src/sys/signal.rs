//! Signals as a descriptor: SIGTERM, SIGINT and SIGHUP are blocked and read from a `signalfd(2)`.
