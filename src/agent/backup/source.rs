//! What a backup reads: the output of a command, a file, or the files of a volume. Each with what proves that it is whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;

use super::{BackupError, Surroundings, tarball};
use crate::agent::actions::Saved;
use crate::agent::drivers::Places;
use crate::agent::stream::read_from;
use crate::backup::write::{EndMark, Gate, Source, SourceEnd};
use crate::extension::contract::{BackupMethod, Stream, StreamFormat};

/// The one stream of a backup by a package's method.
pub const STREAM: &str = "data";
/// How near to its end a dump says that it is complete.
const END_TEXT_WITHIN: usize = 512;

/// What opens a stream. `before` has what the method's steps saved.
pub async fn source(
    around: &dyn Surroundings,
    method: &BackupMethod,
    before: &Saved,
    timeout: Duration,
    gate_before: Option<u64>,
    least_percent: u64,
) -> Result<Source, BackupError> {
    let stream = &method.stream;
    let mark = end_mark(stream)?;
    let gate = Gate { mark, before: gate_before, least_percent };
    let format = if is_tar(stream) { "tar" } else { "raw" }.to_owned();
    if let Some(exec) = &stream.exec {
        let call = before.command(exec).map_err(BackupError::Package)?;
        let pid1 = around.pid1();
        let started = read_from(&pid1, &call, timeout).await;
        let (reader, ending) = started.map_err(|error| BackupError::Command { what: "the backup's command", error })?;
        let end = async move {
            ending.wait().await.map_err(|error| error.to_string())?;
            Ok(SourceEnd { code: Some(0), said: String::new() })
        };
        let reader = Box::pin(reader);
        return Ok(Source { name: STREAM.to_owned(), format, reader, end: end.boxed(), gate, expected: None });
    }
    if let Some(volume) = &stream.volume {
        let actor = around.actor();
        let root = actor.config().volumes.get(&volume.name).map(PathBuf::from);
        let root = root.ok_or_else(|| BackupError::Package(format!("there is no volume {}", volume.name)))?;
        let texts = |list: &[String]| {
            list.iter().map(|text| before.text(text).map_err(BackupError::Package)).collect::<Result<Vec<_>, _>>()
        };
        let wanted = tarball::Wanted { root, paths: texts(&volume.paths)?, exclude: texts(&volume.exclude)? };
        let (reader, end) = tarball::pack(wanted)?;
        let end = async move {
            end.await?;
            Ok(SourceEnd { code: Some(0), said: String::new() })
        };
        let reader = Box::pin(reader);
        return Ok(Source { name: STREAM.to_owned(), format, reader, end: end.boxed(), gate, expected: None });
    }
    let Some(path) = &stream.file else {
        return Err(BackupError::Package("the method does not say what is read".to_owned()));
    };
    let path = before.text(path).map_err(BackupError::Package)?;
    let path = Path::new(&path);
    let file = tokio::fs::File::open(path).await.map_err(|error| BackupError::file(path, error))?;
    Places::of(around.actor().config()).hold(&file).map_err(|error| BackupError::file(path, error))?;
    let size = file.metadata().await.map_err(|error| BackupError::file(path, error))?.len();
    let end = async { Ok(SourceEnd { code: Some(0), said: String::new() }) };
    let reader = Box::pin(file);
    Ok(Source { name: STREAM.to_owned(), format, reader, end: end.boxed(), gate, expected: Some(size) })
}

fn is_tar(stream: &Stream) -> bool {
    stream.volume.is_some() || stream.format == Some(StreamFormat::Tar)
}

/// How the end of a whole stream looks.
fn end_mark(stream: &Stream) -> Result<EndMark, BackupError> {
    if let Some(text) = &stream.end_text {
        return Ok(EndMark::Within { bytes: text.clone().into_bytes(), last: END_TEXT_WITHIN });
    }
    if let Some(digits) = &stream.ends_with {
        let known = digits.trim_end_matches("??");
        let wrong = || BackupError::Package(format!("endsWith: {digits:?} is not hexadecimal digits, then ??"));
        let bytes = hex::decode(known).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(wrong)?;
        let free = (digits.len() - known.len()) / 2;
        return Ok(match free {
            0 => EndMark::Ends(bytes),
            free => EndMark::At { before_end: bytes.len() + free, bytes },
        });
    }
    if is_tar(stream) {
        return Ok(EndMark::Tar);
    }
    Err(BackupError::Package(
        "the method does not say how the end of its stream looks; give endsWith, endText or format".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_marks_are_what_the_package_says() {
        let mark = |stream: Stream| end_mark(&stream).unwrap();
        let ends_with = |text: &str| Stream { ends_with: Some(text.to_owned()), ..Stream::default() };
        assert_eq!(mark(ends_with("2d0a")), EndMark::Ends(b"-\n".to_vec()));
        assert_eq!(mark(ends_with("ff????")), EndMark::At { bytes: vec![0xff], before_end: 3 });
        assert_eq!(mark(Stream { format: Some(StreamFormat::Tar), ..Stream::default() }), EndMark::Tar);
        for wrong in ["", "??", "f", "??ff"] {
            assert!(end_mark(&ends_with(wrong)).is_err(), "{wrong}");
        }
        assert!(end_mark(&Stream::default()).is_err(), "a stream without an end mark proves nothing");
    }
}
