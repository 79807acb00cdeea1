//! Completion-port-style sockets.
