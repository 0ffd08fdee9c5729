//! Paths of the API.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Doors, Outcome};
use crate::observe::explain;
use crate::store::{Filter, Store};
use crate::units::{CallId, Redaction};

/// Longest list that one request gets.
const MOST: usize = 1_000;

/// Bytes of a request's body.
const LONGEST: usize = 16 * 1_024;
const TOO_LONG: &str = "a request's body has at most 16 KiB";

type Shared = State<Arc<Doors>>;

pub(super) fn router(doors: Arc<Doors>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/api/calls", get(calls_now))
        .route("/api/calls/ended", get(calls_ended))
        .route("/api/calls/{call}", get(call))
        .route("/api/calls/{call}/hang_up", post(hang_up))
        .route("/api/calls/{call}/divert", post(divert))
        .route("/api/trunks", get(trunks))
        .route("/api/sources", get(sources))
        .route("/api/blocks", post(block))
        .route("/api/blocks/{source}", delete(lift))
        .route("/api/reload", post(reload))
        .route("/api/settings", get(settings))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "there is no such path"))
        .layer(middleware::from_fn(local_only))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(doors)
}

fn refuse(status: StatusCode, why: &str) -> Response {
    refuse_with(status, why, json!({}))
}

/// A refusal that has more to say.
fn refuse_with(status: StatusCode, why: &str, mut more: Value) -> Response {
    if let Some(more) = more.as_object_mut() {
        more.insert("error".to_owned(), why.into());
    }
    (status, Json(more)).into_response()
}

/// Lets only requests through that come from this machine, and not from a web page of somebody else.
async fn local_only(request: Request<Body>, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST.as_str());
    if !is_loopback(host) {
        return refuse(StatusCode::FORBIDDEN, "the Host must be a loopback name or address");
    }
    let origin = text(headers, header::ORIGIN.as_str());
    let same = origin.strip_prefix("http://").is_some_and(|origin| origin == host);
    if !origin.is_empty() && !same {
        return refuse(StatusCode::FORBIDDEN, "requests from pages of other sites are refused");
    }
    in_our_words(next.run(request).await)
}

/// Every refusal has the same form, those of the framework too. Their headers stay: `Allow` names the methods.
fn in_our_words(answer: Response) -> Response {
    let status = answer.status();
    let json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return answer;
    }
    let why = match status {
        StatusCode::BAD_REQUEST => "the path, or its `?limit=NUMBER`, cannot be read",
        StatusCode::METHOD_NOT_ALLOWED => "this path has another method: the header Allow says which",
        StatusCode::PAYLOAD_TOO_LARGE => TOO_LONG,
        _ => status.canonical_reason().unwrap_or("this failed"),
    };
    let mut refusal = refuse(status, why);
    for (name, value) in answer.headers().iter().filter(|(name, _)| **name == header::ALLOW) {
        refusal.headers_mut().insert(name, value.clone());
    }
    refusal
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn health(State(doors): Shared) -> Response {
    let (ok, health) = (doors.health)();
    if ok {
        return Json(health).into_response();
    }
    refuse_with(StatusCode::SERVICE_UNAVAILABLE, "Ringfence takes no new calls: `reasons` says why", health)
}

async fn metrics(State(doors): Shared) -> Response {
    let kind = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
    ([(header::CONTENT_TYPE, kind)], doors.observer.metrics().encode()).into_response()
}

/// `?limit=100`
#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

impl Limit {
    fn get(&self) -> usize {
        self.limit.unwrap_or(100).min(MOST)
    }
}

// Whoever asks here is on this machine, where the records show numbers in full too.
async fn calls_now(State(doors): Shared, Query(limit): Query<Limit>) -> Response {
    Json(doors.observer.calls_now(limit.get(), Redaction::Off)).into_response()
}

async fn calls_ended(State(doors): Shared, Query(limit): Query<Limit>) -> Response {
    let path = doors.store.clone();
    let limit = limit.get();
    match read_store(path, move |store| store.calls(limit, &Filter::default())).await {
        Ok(calls) => Json(json!({ "calls": calls })).into_response(),
        // A full disk may have stopped the records; this process still remembers the last calls.
        Err(why) => {
            Json(json!({ "calls": doors.observer.calls_ended(limit, Redaction::Off), "store": why })).into_response()
        }
    }
}

async fn call(State(doors): Shared, Path(name): Path<String>) -> Response {
    match read_store(doors.store.clone(), move |store| store.call(&name)).await {
        Ok(Some(record)) => {
            let summary = record.summary();
            Json(json!({ "summary": summary, "explanation": explain::text(&record) })).into_response()
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, "no finished call has this name"),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// Reads records on a thread that may wait for the disk.
async fn read_store<T: Send + 'static>(
    path: std::path::PathBuf,
    read: impl FnOnce(&Store) -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Result<T, String> {
    let job = tokio::task::spawn_blocking(move || {
        let store = Store::open_read_only(&path).map_err(|error| error.to_string())?;
        read(&store).map_err(|error| error.to_string())
    });
    job.await.unwrap_or_else(|error| Err(error.to_string()))
}

async fn hang_up(State(doors): Shared, Path(name): Path<String>) -> Response {
    match running(&doors, &name) {
        Ok(call) => answer((doors.hang_up)(call)),
        Err(refusal) => refusal,
    }
}

async fn divert(State(doors): Shared, Path(name): Path<String>) -> Response {
    match running(&doors, &name) {
        Ok(call) => {
            let refused =
                (StatusCode::CONFLICT, "only a call that is answered, and not taken away yet, can be diverted");
            order(move || (doors.divert)(call), refused).await
        }
        Err(refusal) => refusal,
    }
}

/// The running call of that name.
#[expect(clippy::result_large_err, reason = "an answer, made once a request")]
fn running(doors: &Doors, name: &str) -> Result<CallId, Response> {
    let named = "a call is named by up to 16 hexadecimal digits";
    let call: CallId = name.parse().map_err(|_| refuse(StatusCode::BAD_REQUEST, named))?;
    if !doors.observer.is_running(call) {
        return Err(refuse(StatusCode::NOT_FOUND, "no running call has this name"));
    }
    Ok(call)
}

fn answer(done: bool) -> Response {
    if done {
        Json(json!({ "done": true })).into_response()
    } else {
        refuse(StatusCode::SERVICE_UNAVAILABLE, "the signalling takes no orders")
    }
}

async fn trunks(State(doors): Shared) -> Json<Value> {
    Json((doors.trunks)())
}

async fn sources(State(doors): Shared) -> Json<Value> {
    Json((doors.sources)())
}

/// `{"source": "192.0.2.1", "for": "1h"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockRequest {
    source: IpAddr,
    #[serde(rename = "for")]
    span: String,
}

async fn block(State(doors): Shared, body: Result<Json<BlockRequest>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(JsonRejection::MissingJsonContentType(_)) => {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "say `Content-Type: application/json`");
        }
        Err(JsonRejection::BytesRejection(_)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, TOO_LONG),
        Err(_) => {
            let form = "send {\"source\": \"192.0.2.1\", \"for\": \"1h\"}: one address, not a network";
            return refuse(StatusCode::BAD_REQUEST, form);
        }
    };
    match humantime::parse_duration(&request.span) {
        Ok(span) if span >= Duration::from_secs(1) && span <= Duration::from_secs(366 * 24 * 3_600) => {
            let refused = (StatusCode::CONFLICT, "a trunk, the PBX and networks.allow cannot be blocked");
            order(move || (doors.block)(request.source, span), refused).await
        }
        Ok(_) | Err(_) => refuse(StatusCode::BAD_REQUEST, "`for` is a duration from 1s to a year"),
    }
}

async fn lift(State(doors): Shared, Path(source): Path<String>) -> Response {
    let Ok(source) = source.parse::<IpAddr>() else {
        return refuse(StatusCode::BAD_REQUEST, "a source is named by its address");
    };
    order(move || (doors.lift)(source), (StatusCode::NOT_FOUND, "this source is not blocked")).await
}

/// Gives an order and waits for what comes of it; other requests go on meanwhile.
async fn order(give: impl FnOnce() -> Outcome + Send + 'static, refused: (StatusCode, &str)) -> Response {
    match tokio::task::spawn_blocking(give).await.unwrap_or(Outcome::Late) {
        Outcome::Done => answer(true),
        Outcome::NotTaken => answer(false),
        Outcome::Refused => refuse(refused.0, refused.1),
        Outcome::Late => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the signalling has not answered yet; look whether it was done")
        }
    }
}

async fn reload(State(doors): Shared) -> Response {
    let report = tokio::task::spawn_blocking(move || (doors.reload)()).await.unwrap_or_default();
    let (status, why) = match report.get("outcome").and_then(Value::as_str) {
        Some("refused") => {
            (StatusCode::UNPROCESSABLE_ENTITY, "the settings file has problems; nothing of it is applied")
        }
        Some("needs_restart") => {
            (StatusCode::CONFLICT, "what `changed` names needs a restart; nothing of the edit is applied")
        }
        _ => return Json(report).into_response(),
    };
    refuse_with(status, why, report)
}

async fn settings(State(doors): Shared) -> Json<Value> {
    Json((doors.settings)())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_hosts_are_served() {
        for host in ["127.0.0.1:8470", "localhost", "LOCALHOST:1", "[::1]:8470", "127.0.0.2"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "example.com", "192.0.2.1:8470", "localhost.example.com", "127.0.0.1.example.com", "[2001:db8::1]"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
