//! The key that the record's digests of secrets are made with.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource, ResourceExt};

use crate::api::GitSource;
use crate::cluster::problem::Problem;
use crate::diff::Redaction;
use crate::plan::source::AUDIT_KEY;

/// The key that digests of secrets are made with: random, made once for each source, kept in a Secret beside it.
pub async fn redaction_key(source: &GitSource, client: &Client) -> Result<Redaction, String> {
    const KEY: &str = "key";
    let api: Api<Secret> = Api::namespaced(client.clone(), &source.namespace().unwrap_or_default());
    let name = format!("{}{AUDIT_KEY}", source.name_any());
    let failed = |error: kube::Error| format!("Secret {name}: {}", Problem::from_kube(&error));
    let secret = if let Some(secret) = api.get_opt(&name).await.map_err(failed)? {
        secret
    } else {
        let mut key = vec![0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| "the system gives no random numbers".to_owned())?;
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: source.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(key))])),
            ..Secret::default()
        };
        api.create(&PostParams::default(), &secret).await.map_err(failed)?
    };
    let key = secret.data.and_then(|mut data| data.remove(KEY)).filter(|key| key.0.len() >= 16);
    key.map(|key| Redaction::new(&key.0)).ok_or_else(|| {
        format!(
            "Secret {name} has no usable `{KEY}`: names that end with {AUDIT_KEY} are those of Midship's own keys; keep \
             what is in it under another name, and it is made anew as soon as this one is free"
        )
    })
}
