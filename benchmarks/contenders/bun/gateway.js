// A small gateway of the same job on Bun's own server: `bun gateway.js PORT UPSTREAM LOG`. HS256 by jose with verified
// tokens remembered, a limit for each client over a sliding window, another path, header rules, a buffered JSON log.
import { createSecretKey } from "node:crypto";
import { appendFile } from "node:fs";
import { jwtVerify } from "jose";

const [port, upstream, logPath] = process.argv.slice(2);
const key = createSecretKey(process.env.JWT_SECRET, "utf8");
const options = { algorithms: ["HS256"], clockTolerance: 30, requiredClaims: ["exp", "sub"] };
const LEEWAY = 30;
const PREFIX = "/api/users/";
const MAX = 1_000_000;
const WINDOW = 60;

// As many tokens as rawgate's 16 MiB hold of this size; a Map keeps the order in which they came.
const REMEMBERED = 20_000;
const remembered = new Map();

async function client(token) {
  const known = remembered.get(token);
  const now = Date.now() / 1000;
  if (known !== undefined && now < known.until) return known.sub;
  const { payload } = await jwtVerify(token, key, options);
  if (remembered.size >= REMEMBERED) remembered.delete(remembered.keys().next().value);
  remembered.set(token, { sub: payload.sub, until: payload.exp + LEEWAY });
  return payload.sub;
}

// Two counters for each client: this window's, and the last one's weighed by how much of it the sliding window still covers.
const counters = new Map();

function remaining(name) {
  const now = Date.now() / 1000;
  const window = Math.floor(now / WINDOW);
  let counter = counters.get(name);
  if (counter === undefined) counters.set(name, (counter = { window, count: 0, last: 0 }));
  if (counter.window !== window) {
    counter.last = counter.window === window - 1 ? counter.count : 0;
    counter.count = 0;
    counter.window = window;
  }
  const used = counter.count + counter.last * (1 - (now / WINDOW - window));
  if (used >= MAX) return -1;
  counter.count += 1;
  return Math.floor(MAX - used - 1);
}

// Lines are collected and written a few times a second. They are appended, since the suite empties the file.
let lines = [];
setInterval(() => {
  if (lines.length === 0) return;
  appendFile(logPath, lines.join(""), () => {});
  lines = [];
}, 200);

function log(request, id, path, name, status, began, remote) {
  lines.push(
    JSON.stringify({
      time: new Date().toISOString(), requestId: id, method: request.method, path, route: "/api/users", clientId: name,
      status, durationMs: performance.now() - began, upstream, remote,
    }) + "\n",
  );
}

function problem(status, title, reason, id, fields) {
  const body = JSON.stringify({ type: "about:blank", title, status, reason, requestId: id });
  return new Response(body, { status, headers: { "content-type": "application/problem+json", ...fields } });
}

async function answer(request, server) {
  const began = performance.now();
  const id = crypto.randomUUID();
  const url = request.url;
  const start = url.indexOf("/", 8);
  const path = url.slice(start);
  const remote = server.requestIP(request)?.address;
  let name = "";
  const finish = (response) => {
    log(request, id, path, name, response.status, began, remote);
    return response;
  };
  if (!path.startsWith(PREFIX)) return finish(problem(404, "Not Found", "no_route", id));
  const authorization = request.headers.get("authorization");
  if (!authorization?.startsWith("Bearer ")) {
    return finish(problem(401, "Unauthorized", "auth_missing", id, { "www-authenticate": "Bearer" }));
  }
  try {
    name = await client(authorization.slice(7));
  } catch {
    const fields = { "www-authenticate": 'Bearer error="invalid_token"' };
    return finish(problem(401, "Unauthorized", "auth_invalid", id, fields));
  }
  const left = remaining(name);
  if (left < 0) return finish(problem(429, "Too Many Requests", "rate_limited", id, { "retry-after": `${WINDOW}` }));

  const headers = request.headers;
  headers.delete("x-debug");
  headers.delete("connection");
  headers.delete("forwarded");
  headers.delete("x-real-ip");
  headers.set("x-gateway", "bench");
  headers.set("x-user-id", name);
  headers.set("x-request-id", id);
  headers.set("x-forwarded-for", remote);
  headers.set("x-forwarded-proto", "http");
  headers.set("x-forwarded-host", headers.get("host"));
  headers.set("via", "1.1 bun");
  headers.set("host", `127.0.0.1:${upstream}`);
  const response = await fetch(`http://127.0.0.1:${upstream}/v2/users/${path.slice(PREFIX.length)}`, {
    method: request.method,
    headers,
    body: request.body,
    redirect: "manual",
    decompress: false,
  });
  const fields = response.headers;
  fields.delete("cache-control");
  fields.delete("x-powered-by");
  fields.set("x-request-id", id);
  fields.set("x-frame-options", "DENY");
  fields.set("ratelimit", `"/api/users";r=${left};t=${WINDOW}`);
  return finish(new Response(response.body, { status: response.status, headers: fields }));
}

Bun.serve({ hostname: "127.0.0.1", port: Number(port), idleTimeout: 75, fetch: answer });
