//! Answers are read into memory before anybody looks at them, so none may have more bytes than an answer can have: a store is
//! whatever somebody named as one, and one that sends without an end would fill the memory of a controller that others share.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// For answers that tell something, such as a page of a listing.
pub const TELLING: usize = 8 << 20;

/// Ends each answer of a client that has more bytes than this.
#[derive(Debug)]
pub struct Bounded(pub usize);

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let inner = Box::pin(std::mem::replace(body, SdkBody::taken()));
        *body = SdkBody::from_body_1_x(Limited { inner, most: self.0, left: self.0 });
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the answer has more than {0} bytes")]
struct TooLong(usize);

struct Limited {
    inner: Pin<Box<SdkBody>>,
    most: usize,
    left: usize,
}

impl Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Body::poll_frame(self.inner.as_mut(), context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let Some(left) = self.left.checked_sub(data.len()) else {
                return Poll::Ready(Some(Err(TooLong(self.most).into())));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        Body::is_end_stream(&*self.inner)
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&*self.inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::backup::store::s3::{Checksums, Credentials, Settings};
    use crate::backup::store::{Key, LARGEST_OBJECT, List, S3, Store, StoreError};
    use crate::secret::Secret;

    /// What a server that never stops sending did send, and what was made of it.
    async fn ask(status: &str, question: impl AsyncFnOnce(&S3) -> StoreError) -> (usize, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let (sent, head) = (Arc::new(AtomicUsize::new(0)), format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n"));
        let counted = sent.clone();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a question");
            let (mut question, block) = (vec![0; 16 << 10], vec![b' '; 64 << 10]);
            let _ = stream.read(&mut question).await;
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&block).await.is_ok() {
                counted.fetch_add(block.len(), Ordering::SeqCst);
            }
        });
        let credentials = Credentials::Keys {
            access_key_id: "key".into(),
            secret_access_key: Secret::new("made up"),
            session_token: None,
        };
        let store = S3::new(&Settings {
            bucket: "bucket".into(),
            prefix: String::new(),
            region: None,
            endpoint: Some(endpoint),
            path_style: true,
            credentials,
            ca: None,
            checksums: Checksums::WhenSupported,
            lock: None,
        });
        let error = question(&store.expect("the settings are fine")).await;
        server.abort();
        (sent.load(Ordering::SeqCst), error.to_string())
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        let key = Key::parse("repo.json").expect("a key");
        // what is under way between two sockets comes on top
        let on_the_way = 32 << 20;
        for status in ["200 OK", "403 Forbidden"] {
            let list = async |store: &S3| store.list(&List::default()).await.expect_err("it has no end");
            let (sent, error) = ask(status, list).await;
            assert!(error.contains("the answer has more than 8388608 bytes"), "{error}");
            assert!(sent < TELLING + on_the_way, "{sent} bytes");
            let read = async |store: &S3| store.get(&key, None).await.expect_err("it has no end");
            let (sent, error) = ask(status, read).await;
            assert!(error.contains("no object of a repository has more") || error.contains("has more than"), "{error}");
            assert!(sent < usize::try_from(LARGEST_OBJECT).expect("small") + on_the_way, "{sent} bytes");
        }
    }
}
