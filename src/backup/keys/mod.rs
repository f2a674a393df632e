//! Keys. Backups are encrypted to the public key of an epoch. Its private key lies in the repository once for each
//! recipient, encrypted to that recipient: whoever has one recipient's private key can read, and the cluster, which has
//! none, can write. What says that a backup is one of ours is signed.

mod check;
pub mod epoch;
mod identity;
mod kit;
mod seal;
mod signing;

pub use check::KeyCheck;
pub use epoch::Epoch;
pub use identity::{Identity, KeyProblem, Recipient};
pub use kit::{Kit, KitError};
pub use seal::{CLEAR, ENCRYPTED, Opener, SealError, Sealer};
pub use signing::{PublicKey, SigningKey};
