//! Commands to servers that speak RESP.

pub mod codec;

use tokio::io::{AsyncWriteExt, BufReader};

use super::net::{self, Pool, Stream};
use super::tls::Tls;
use super::{Answer, DriverError, RespCall, Session, Target};
use crate::agent::secrets::{LastKnown, Secrets};

pub type Connection = BufReader<Stream>;

/// Asks; a connection of the session is used again.
pub async fn call(
    pool: &Pool<Connection>,
    session: &Session,
    call: RespCall,
    tls: Option<&Tls>,
    secrets: &Secrets,
    known: &LastKnown,
) -> Answer {
    let what = if call.login { "login" } else { "" };
    let target = &call.target;
    if let Some(mut connection) = pool.take(session, target, what) {
        match ask(&mut connection, target, &call.command).await {
            // a server that was started anew; whether it took the command, nobody knows: only questions are asked again
            Err(_) if *session == Session::Probe => {}
            answer => return keep(pool, session, target, what, connection, answer),
        }
    }
    let mut connection = BufReader::new(net::open(target, tls).await?);
    if call.login {
        log_in(&mut connection, target, secrets, known).await?;
    }
    let answer = ask(&mut connection, target, &call.command).await;
    keep(pool, session, target, what, connection, answer)
}

fn keep(
    pool: &Pool<Connection>,
    session: &Session,
    target: &Target,
    what: &str,
    connection: Connection,
    answer: Result<codec::Answer, DriverError>,
) -> Answer {
    let answer = answer?;
    pool.put(session, target, what, connection);
    answer.map_err(|error| DriverError::new(format!("the server answered: {error}")))
}

async fn ask(connection: &mut Connection, target: &Target, command: &[String]) -> Result<codec::Answer, DriverError> {
    let failed = |error: codec::RespError| DriverError::new(format!("{target}: {error}"));
    connection.write_all(&codec::encode(command)).await.map_err(|error| failed(error.into()))?;
    connection.flush().await.map_err(|error| failed(error.into()))?;
    codec::read(connection).await.map_err(failed)
}

async fn log_in(
    connection: &mut Connection,
    target: &Target,
    secrets: &Secrets,
    known: &LastKnown,
) -> Result<(), DriverError> {
    let Err(refusal) = authenticate(connection, target, secrets).await? else {
        known.worked(secrets);
        return Ok(());
    };
    if let Some(before) = known.before(secrets)
        && authenticate(connection, target, &before).await?.is_ok()
    {
        return Ok(());
    }
    Err(DriverError::new(format!("cannot log in at {target}: {refusal}")))
}

async fn authenticate(
    connection: &mut Connection,
    target: &Target,
    secrets: &Secrets,
) -> Result<codec::Answer, DriverError> {
    let secret = |name: &str| secrets.get(name).map(|value| value.expose().to_owned());
    let password = secret("password").ok_or_else(|| DriverError::new("there is no password to log in with"))?;
    let command: Vec<String> = ["AUTH".to_owned()].into_iter().chain(secret("username")).chain([password]).collect();
    ask(connection, target, &command).await
}
