//! Statements to servers that speak the postgres protocol. Answers come as the server writes them, numbers and truth
//! values as what they are.

mod secure;
mod text;

use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{CancelToken, Client, Config, SimpleQueryMessage};

use self::secure::{ConnectError, Secured};
use super::net::{self, Pool};
use super::tls::Tls;
use super::{Answer, DriverError, PostgresCall, Session, Target};
use crate::agent::secrets::{LastKnown, Secrets};

/// The most rows and bytes an answer may have.
const MAX_ROWS: usize = 10_000;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What a statement with values is called on the server while it is carried out.
const STATEMENT: &str = "midship_step";

/// Asks; a connection of the session is used again.
pub async fn call(
    pool: &Pool<Client>,
    session: &Session,
    call: PostgresCall,
    tls: Option<&Tls>,
    secrets: &Secrets,
    known: &LastKnown,
) -> Answer {
    let target = &call.target;
    let database = call.database.clone().unwrap_or_default();
    if let Some(client) = pool.take(session, target, &database).filter(|client| !client.is_closed()) {
        let answer = carry_out(&client, &call, tls).await;
        let gone = client.is_closed() || matches!(&answer, Err(error) if error.as_db_error().is_none());
        // a server that was started anew: only questions are asked again
        if !gone || *session != Session::Probe {
            return keep(pool, session, target, &database, client, answer);
        }
    }
    let client = log_in(&call, tls, secrets, known).await?;
    let answer = carry_out(&client, &call, tls).await;
    keep(pool, session, target, &database, client, answer)
}

fn keep(
    pool: &Pool<Client>,
    session: &Session,
    target: &Target,
    database: &str,
    client: Client,
    answer: Result<Vec<Reply>, tokio_postgres::Error>,
) -> Answer {
    let answer = answer.map_err(|error| explain(target, &error));
    if !client.is_closed() {
        pool.put(session, target, database, client);
    }
    let Reply { rows, affected, too_large } = answer?.pop().unwrap_or_default();
    if too_large {
        let reason = format!("the answer has more than {MAX_ROWS} rows or {MAX_BYTES} bytes; ask for less");
        return Err(DriverError::new(reason));
    }
    Ok(json!({ "rows": rows, "affected": affected }))
}

async fn log_in(
    call: &PostgresCall,
    tls: Option<&Tls>,
    secrets: &Secrets,
    known: &LastKnown,
) -> Result<Client, DriverError> {
    let said = match connect(call, tls, secrets).await {
        Ok(client) => {
            known.worked(secrets);
            return Ok(client);
        }
        Err(ConnectError::Driver(error)) => return Err(error),
        Err(ConnectError::Server(said)) => said,
    };
    let other_password = said.code() == Some(&SqlState::INVALID_PASSWORD);
    if let Some(before) = known.before(secrets).filter(|_| other_password)
        && let Ok(client) = connect(call, tls, &before).await
    {
        return Ok(client);
    }
    Err(explain(&call.target, &said))
}

async fn connect(call: &PostgresCall, tls: Option<&Tls>, secrets: &Secrets) -> Result<Client, ConnectError> {
    let target = &call.target;
    let nobody = || ConnectError::Driver(DriverError::new("there is no name to log in with"));
    let user = secrets.get("username").ok_or_else(nobody)?;
    let mut config = Config::new();
    config.user(user.expose()).application_name("midship");
    config.dbname(call.database.as_deref().unwrap_or(user.expose()));
    if let Some(password) = secrets.get("password") {
        config.password(password.expose());
    }
    let stream = net::connect(target).await.map_err(ConnectError::Driver)?;
    let (client, connection) = secure::connect(&config, stream, target, tls).await?;
    // ends with the client, and with the connection
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the server ended");
        }
    });
    Ok(client)
}

/// The answer of one statement.
#[derive(Default)]
struct Reply {
    rows: Vec<Value>,
    affected: u64,
    too_large: bool,
}

/// A statement that nobody waits for any more is given up on the server, too.
struct Giving<'a> {
    token: Option<CancelToken>,
    target: &'a Target,
    tls: Option<&'a Tls>,
}

impl Drop for Giving<'_> {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let (target, tls) = (self.target.clone(), self.tls.cloned());
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let cancel = secure::cancel(token, &target, tls.as_ref());
            match tokio::time::timeout(std::time::Duration::from_secs(5), cancel).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "a statement could not be given up"),
                Err(_) => tracing::debug!("a statement could not be given up in time"),
            }
        });
    }
}

async fn carry_out(
    client: &Client,
    call: &PostgresCall,
    tls: Option<&Tls>,
) -> Result<Vec<Reply>, tokio_postgres::Error> {
    let mut giving = Giving { token: Some(client.cancel_token()), target: &call.target, tls };
    let answer = async {
        // asked for first, since the answer itself does not say of what type it is
        let types: Vec<Type> = match client.prepare(&call.sql).await {
            Ok(statement) => statement.columns().iter().map(|column| column.type_().clone()).collect(),
            // several statements at once cannot be asked; whatever else is wrong is said again below
            Err(error) if error.code() == Some(&SqlState::SYNTAX_ERROR) => Vec::new(),
            Err(error) => return Err(error),
        };
        if call.values.is_empty() {
            return answers(client.simple_query_raw(&call.sql).await?, &types).await;
        }
        let values: Vec<String> = call.values.iter().map(text::literal).collect();
        client.batch_execute(&format!("PREPARE {STATEMENT} AS {}", call.sql)).await?;
        let answer = async {
            let statement = format!("EXECUTE {STATEMENT}({})", values.join(", "));
            answers(client.simple_query_raw(&statement).await?, &types).await
        };
        let answer = answer.await;
        client.batch_execute(&format!("DEALLOCATE {STATEMENT}")).await?;
        answer
    }
    .await;
    giving.token = None;
    answer
}

/// The answers of all statements, of which no more is kept than there is room for.
async fn answers(
    messages: tokio_postgres::SimpleQueryStream,
    types: &[Type],
) -> Result<Vec<Reply>, tokio_postgres::Error> {
    let mut messages = std::pin::pin!(messages);
    let (mut all, mut current, mut bytes) = (Vec::new(), Reply::default(), 0);
    while let Some(message) = messages.try_next().await? {
        match message {
            SimpleQueryMessage::Row(row) => {
                let mut object = Map::new();
                for (index, column) in row.columns().iter().enumerate() {
                    let field = row.try_get(index)?;
                    bytes += field.map_or(0, str::len);
                    object.insert(column.name().to_owned(), text::value(field, types.get(index)));
                }
                current.too_large |= current.rows.len() >= MAX_ROWS || bytes > MAX_BYTES;
                if !current.too_large {
                    current.rows.push(Value::Object(object));
                }
            }
            SimpleQueryMessage::CommandComplete(affected) => {
                current.affected = affected;
                all.push(std::mem::take(&mut current));
            }
            _ => {}
        }
    }
    Ok(all)
}

/// An error in the server's words, or why there was none.
fn explain(target: &Target, error: &tokio_postgres::Error) -> DriverError {
    let Some(said) = error.as_db_error() else {
        let mut reason = format!("{target}: {error}");
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            reason = format!("{reason}: {cause}");
            next = cause.source();
        }
        return DriverError::new(reason);
    };
    let more = |what: Option<&str>| what.map(|text| format!("; {text}")).unwrap_or_default();
    DriverError::new(format!(
        "the server answered: {} {}: {}{}{}",
        said.severity(),
        said.code().code(),
        said.message(),
        more(said.detail()),
        more(said.hint())
    ))
}

/// What is on the other side of a connection.
type Connection = tokio_postgres::Connection<tokio::net::TcpStream, Secured>;
