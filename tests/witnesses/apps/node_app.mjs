// Node's own HTTP server, with the URL that programs make of a request: node node_app.mjs PORT

import http from "node:http";

const sites = ["admin.test", "192.0.2.7", "[2001:db8::7]"];
const changing = ["POST", "PUT", "PATCH", "DELETE"];

function handlerOf(method, path) {
  if (path === "/admin" || path.startsWith("/admin/")) return "admin";
  if (path === "/items" || path.startsWith("/items/")) return changing.includes(method) ? "change" : "items";
  return "open";
}

function serve(request, response) {
  let url;
  try {
    url = new URL(request.url, `http://${request.headers.host}`);
  } catch {
    response.writeHead(400).end();
    return;
  }
  const path = decodeURIComponent(url.pathname);
  const body = JSON.stringify({
    method: request.method,
    path,
    raw: request.url,
    host: url.hostname,
    site: sites.includes(url.hostname) ? url.hostname : "",
    handler: handlerOf(request.method, path),
    remote: request.socket.remoteAddress,
    fields: Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
  });
  request.resume();
  request.on("end", () => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
    response.end(body);
  });
}

http
  .createServer((request, response) => {
    try {
      serve(request, response);
    } catch {
      response.writeHead(400).end();
    }
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
