//! What runs inside pods: the process manager that is PID 1, the hands of the agent beside it, and small commands.

pub mod actions;
pub mod api;
pub mod backup;
pub mod cli;
pub mod copy;
pub mod ctl;
pub mod drivers;
pub mod facts;
pub mod files;
pub mod init;
pub mod pid1;
pub mod role;
pub mod secrets;
pub mod serve;
pub mod stream;
