//! What runs inside pods: the process manager that is PID 1, and the small commands around it.

pub mod api;
pub mod cli;
pub mod copy;
pub mod ctl;
pub mod init;
pub mod peers;
