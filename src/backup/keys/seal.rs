//! What is stored: compressed, and encrypted to the key of an epoch, in one pass over the memory it is in. Each object can
//! be opened alone with the programs `age` and `zstd`.

use std::io::{self, Read, Write};

use super::{Identity, Recipient};

/// The pace at which a disk is read on one core; beyond it, little is gained.
pub const LEVEL: i32 = 3;

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("it cannot be compressed or encrypted: {0}")]
    Seal(String),
    #[error("it cannot be decrypted with this key: {0}")]
    Decrypt(String),
    #[error("it cannot be decompressed: {0}")]
    Decompress(io::Error),
    #[error("it holds more than the {0} bytes that are said to be in it")]
    TooMuch(u64),
    #[error("it is no file of age, or what is left of one")]
    NotAge,
    #[error("it has {0} of the {1} bytes that a key takes there: it was cut")]
    Cut(usize, usize),
}

/// How objects are stored.
#[derive(Clone, Debug)]
pub enum Sealer {
    /// As somebody who disabled encryption wanted it.
    Clear,
    To(Recipient),
}

/// How they are read.
#[derive(Clone, Debug)]
pub enum Opener {
    Clear,
    With(Identity),
}

pub const ENCRYPTED: &str = ".zst.age";
pub const CLEAR: &str = ".zst";

impl Sealer {
    /// How the names of objects end.
    pub fn suffix(&self) -> &'static str {
        match self {
            Self::Clear => CLEAR,
            Self::To(_) => ENCRYPTED,
        }
    }

    pub fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let failed = |error: io::Error| SealError::Seal(error.to_string());
        // pages that are never written to take no memory; growing would copy them
        let out = Vec::with_capacity(plain.len() + plain.len() / 128 + (4 << 10));
        match self {
            Self::Clear => compress(plain, out).map_err(failed),
            Self::To(recipient) => {
                let to = std::iter::once(recipient.key() as &dyn age::Recipient);
                let encryptor =
                    age::Encryptor::with_recipients(to).map_err(|error| SealError::Seal(error.to_string()))?;
                let writer = encryptor.wrap_output(out).map_err(failed)?;
                compress(plain, writer).and_then(age::stream::StreamWriter::finish).map_err(failed)
            }
        }
    }
}

fn compress<W: Write>(plain: &[u8], out: W) -> io::Result<W> {
    let mut encoder = zstd::stream::write::Encoder::new(out, LEVEL)?;
    encoder.set_pledged_src_size(Some(plain.len() as u64))?;
    encoder.write_all(plain)?;
    encoder.finish()
}

impl Opener {
    /// Opens what was sealed. It may hold `most` bytes; a bomb goes off no further than that.
    pub fn open(&self, stored: &[u8], most: u64) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Clear => decompress(stored, most),
            Self::With(identity) => {
                let decrypt = |error: age::DecryptError| SealError::Decrypt(error.to_string());
                let decryptor = age::Decryptor::new_buffered(stored).map_err(decrypt)?;
                let reader = decryptor.decrypt(std::iter::once(identity.key() as _)).map_err(decrypt)?;
                decompress(reader, most)
            }
        }
    }
}

fn decompress<R: Read>(stored: R, most: u64) -> Result<Vec<u8>, SealError> {
    let mut reader = zstd::stream::read::Decoder::new(stored).map_err(SealError::Decompress)?.take(most + 1);
    let mut plain = Vec::new();
    reader.read_to_end(&mut plain).map_err(SealError::Decompress)?;
    if plain.len() as u64 > most {
        return Err(SealError::TooMuch(most));
    }
    Ok(plain)
}

/// Encrypts a few bytes without compressing them: keys, which a person opens with `age` alone.
pub fn wrap(plain: &[u8], to: &Recipient) -> Result<Vec<u8>, SealError> {
    age::encrypt(to.key(), plain).map_err(|error| SealError::Seal(error.to_string()))
}

pub fn unwrap(stored: &[u8], identity: &Identity) -> Result<Vec<u8>, SealError> {
    age::decrypt(identity.key(), stored).map_err(|error| SealError::Decrypt(error.to_string()))
}

/// What age adds at the end of a few bytes: the tag of their one part.
const TAG: usize = 16;

/// Whether something that was wrapped is still there in full, as far as that is seen without a key: its header can be read,
/// and what follows it has room for so many bytes.
pub fn is_whole(stored: &[u8], plain: usize) -> Result<(), SealError> {
    let mut rest = stored;
    age::Decryptor::new_buffered(&mut rest).map_err(|_| SealError::NotAge)?;
    let wanted = plain + TAG;
    if rest.len() < wanted { Err(SealError::Cut(rest.len(), wanted)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_file_is_told_from_a_whole_one_without_any_key() {
        let stored = wrap(b"a key", &Identity::generate().recipient()).expect("wrapped");
        assert!(is_whole(&stored, 5).is_ok());
        for end in 0..stored.len() {
            assert!(is_whole(&stored[..end], 5).is_err(), "cut at {end}");
        }
        let last = stored.len() - 1;
        assert!(matches!(is_whole(&stored[..last], 5), Err(SealError::Cut(20, 21))));
        assert!(matches!(is_whole(b"no file of age at all\n", 5), Err(SealError::NotAge)));
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone() {
        let identity = Identity::generate();
        let sealer = Sealer::To(identity.recipient());
        let plain = b"a row\n".repeat(5000);
        let stored = sealer.seal(&plain).expect("sealed");
        assert!(stored.len() < plain.len() / 10 && !stored.windows(5).any(|part| part == b"a row"));
        let opener = Opener::With(identity);
        assert_eq!(opener.open(&stored, 30_000).expect("opened"), plain);
        assert!(matches!(opener.open(&stored, 29_999), Err(SealError::TooMuch(29_999))));
        assert!(Opener::With(Identity::generate()).open(&stored, 30_000).is_err());
        for place in [0, 50, stored.len() / 2, stored.len() - 1] {
            let mut damaged = stored.clone();
            damaged[place] ^= 1;
            assert!(opener.open(&damaged, 30_000).is_err(), "a flipped bit at {place}");
            assert!(opener.open(&stored[..place], 30_000).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn in_the_clear_it_is_compressed_all_the_same() {
        let stored = Sealer::Clear.seal(&[7; 10_000]).expect("sealed");
        assert!(stored.len() < 100);
        assert_eq!(Opener::Clear.open(&stored, 10_000).expect("opened"), [7; 10_000]);
        let nothing = Sealer::Clear.seal(&[]).expect("sealed");
        assert!(Opener::Clear.open(&nothing, 0).expect("opened").is_empty());
    }
}
