//! A source that acts as a ServiceAccount: it may do what that may, and is told by name what not.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

use super::repository::instance;
use super::{SOON, Team, team_test};
use crate::harness::wait_for;

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\ndata: {a: x}\n";
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: x}\n";

/// A ServiceAccount that may do everything with ConfigMaps and Instances, and nothing else.
fn deployer(team: &Team<'_>) {
    let kubectl = |args: &[&str]| team.scene.kubectl(args.iter().copied()).stdout();
    kubectl(&["create", "serviceaccount", "deployer"]);
    let resources = "--resource=configmaps,instances.midship.dev";
    kubectl(&["create", "role", "deployer", "--verb=get,list,watch,create,patch,update,delete", resources]);
    let account = format!("--serviceaccount={}:deployer", team.scene.namespace);
    kubectl(&["create", "rolebinding", "deployer", "--role=deployer", &account]);
}

#[test]
fn what_its_account_may_not_do_is_refused_by_name_and_everything_else_is_applied() {
    team_test(async |team| {
        deployer(team);
        team.repository.write("a.yaml", &instance("a", "1"));
        team.repository.write("map.yaml", MAP);
        team.repository.write("s.yaml", SECRET);
        let restart = "apiVersion: midship.dev/v1alpha1\nkind: Operation\nmetadata: {name: restart}\nspec: {instance: a, type: Restart}\n";
        team.repository.write("restart.yaml", restart);
        team.repository.commit("One of each");
        team.follow(json!({ "serviceAccountName": "deployer" })).await;
        team.has(&["a 1"]).await;
        let maps: Api<ConfigMap> = team.scene.objects();
        wait_for("the ConfigMap", SOON, async || maps.get("map").await.map(drop).map_err(|error| error.to_string()))
            .await;
        team.becomes("NotAllApplied").await;
        let namespace = &team.scene.namespace;
        let account = format!("system:serviceaccount:{namespace}:deployer");
        // the server knows of a role a moment after it was made, and at first more may have been refused
        let errors = wait_for("two of them to be refused", SOON, async || {
            let errors = team.errors().await;
            if errors.len() == 2 { Ok(errors) } else { Err(format!("{errors:#?}")) }
        })
        .await;
        for (object, verb) in
            [("Secret", "cannot get resource \"secrets\""), ("Operation", "cannot patch resource \"operations\"")]
        {
            let error =
                errors.iter().find(|error| error.contains(&format!("{object} {namespace}/"))).expect("it is told of");
            assert!(error.contains(&account) && error.contains(verb), "{error}");
            assert!(error.contains(&format!("give the ServiceAccount {namespace}/deployer a role with it")), "{error}");
        }
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = team.scene.objects();
        assert!(
            secrets.get_opt("s").await.expect("it can be asked for").is_none(),
            "Midship's own rights are not used"
        );
        // what it may not do does not stand in the way of what comes next, nor is anything deleted for it
        team.repository.write("a.yaml", &instance("a", "2"));
        team.repository.remove("s.yaml");
        team.repository.remove("restart.yaml");
        team.repository.commit("Less");
        team.becomes("Applied").await;
        team.has(&["a 2"]).await;
    });
}
