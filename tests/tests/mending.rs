//! A node that cannot start says in one line what is wrong and in another how to mend it, leaves
//! with its own exit code, and starts once that was done.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say where"
)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tests::mesh::TestMesh;
use tests::process::{Process, complained, ran};

const ANY: [&str; 5] = ["run", "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0"];

/// A founded mesh whose node does not run.
fn host() -> (TestMesh, PathBuf) {
    let mesh = TestMesh::empty();
    mesh.found_at("host");
    let state = mesh.state("host");
    (mesh, state)
}

/// The node does not start; the line that says why and the line that says how to mend it contain
/// these words.
async fn refused(state: &Path, words: &[&str], exit: i32, why: &[&str], how: &[&str]) {
    let output = ran(state, words).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(output.stdout.is_empty());
    complained(&said, why, how);
}

async fn starts(state: &Path) {
    Process::start(state).await.kill().await;
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_mesh_port_is_in_use() {
    let (_mesh, state) = host();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["run", "--listen", &address, "--gateway", "127.0.0.1:0"];
    refused(&state, &words, 1, &[&address, "in use"], &["listen"]).await;
    drop(taken);
    starts(&state).await;
}

#[tokio::test]
async fn the_gateway_port_is_in_use() {
    let (_mesh, state) = host();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["run", "--listen", "127.0.0.1:0", "--gateway", &address];
    refused(&state, &words, 1, &[&address, "gateway"], &["another"]).await;
    drop(taken);
    starts(&state).await;
}

#[tokio::test]
async fn a_key_file_is_missing() {
    let (mesh, state) = host();
    for key in ["tls", "signing"] {
        let path = state.join(format!("keys/{key}.key"));
        let away = mesh.file("away");
        std::fs::rename(&path, &away).unwrap();
        refused(&state, &ANY, 1, &[text(&path), "missing"], &[]).await;
        std::fs::rename(&away, &path).unwrap();
    }
    starts(&state).await;
}

#[tokio::test]
async fn a_key_file_is_readable_by_others() {
    let (_mesh, state) = host();
    let path = state.join("keys/signing.key");
    for mode in [0o644, 0o640, 0o604] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        refused(&state, &ANY, 1, &[text(&path)], &["chmod"]).await;
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    starts(&state).await;
}

/// Also as root, whom no mode keeps from reading.
#[tokio::test]
async fn a_key_file_is_unreadable() {
    let (mesh, state) = host();
    let path = state.join("keys/tls.key");
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    refused(&state, &ANY, 1, &[text(&path)], &[]).await;
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(mesh.file("elsewhere"), &kept).unwrap();
    symlink(mesh.file("elsewhere"), &path).unwrap();
    refused(&state, &ANY, 1, &[text(&path)], &[]).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &kept[..kept.len() / 2]).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    refused(&state, &ANY, 1, &[text(&path)], &[]).await;
    std::fs::write(&path, &kept).unwrap();
    starts(&state).await;
}

#[tokio::test]
async fn an_unknown_configuration_key() {
    let (_mesh, state) = host();
    let path = state.join("config.toml");
    std::fs::write(&path, "[node]\nlissten = \"127.0.0.1:0\"\n").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let line = format!("{}:2", path.display());
    refused(
        &state,
        &ANY,
        3,
        &[&line, "`node.lissten`"],
        &["did you mean `node.listen`"],
    )
    .await;
    std::fs::write(&path, "").unwrap();
    starts(&state).await;
}

#[tokio::test]
async fn a_second_node_of_one_state_directory() {
    let (_mesh, state) = host();
    let first = Process::start(&state).await;
    refused(&state, &ANY, 1, &[text(&state)], &[]).await;
    first.kill().await;
    // A lock or socket left by a killed process is no obstacle.
    starts(&state).await;
}

#[tokio::test]
async fn no_node_here() {
    let mesh = TestMesh::empty();
    let state = mesh.state("nothing");
    refused(&state, &ANY, 3, &[text(&state)], &["hedgerow up"]).await;
}

#[tokio::test]
async fn keys_of_another_host() {
    let (_mesh, state) = host();
    let (_other_mesh, other) = host();
    for (key, word) in [("signing", "signing set"), ("tls", "keys here are of node")] {
        let key = format!("keys/{key}.key");
        let kept = std::fs::read(state.join(&key)).unwrap();
        std::fs::copy(other.join(&key), state.join(&key)).unwrap();
        refused(&state, &ANY, 2, &["membership", word], &[]).await;
        std::fs::write(state.join(&key), kept).unwrap();
    }
    starts(&state).await;
}
