// The same as asgi_app.py, on Node's own HTTP server; says its port on stdout. See test_real_servers.py.
//
//     node node_app.mjs [HOST [NAME]]

import crypto from "node:crypto";
import http from "node:http";
import zlib from "node:zlib";

const [host = "127.0.0.1", name = "node"] = process.argv.slice(2);
const piece = Buffer.from(Array.from({ length: 65536 }, (_, at) => at % 256));
const gzipped = zlib.gzipSync("the same octets, over and over. ".repeat(100));
let confirmed = () => {};

function echo(request, response) {
  const digest = crypto.createHash("sha256");
  let length = 0;
  request.on("data", (data) => {
    digest.update(data);
    length += data.length;
  });
  request.on("end", () => {
    const found = {
      method: request.method,
      target: request.url,
      headers: request.headers,
      length,
      sha256: digest.digest("hex"),
    };
    reply(response, 200, { "Content-Type": "application/json" }, JSON.stringify(found));
  });
}

function reply(response, status, fields, body) {
  response.writeHead(status, { ...fields, ...(body ? { "Content-Length": Buffer.byteLength(body) } : {}) });
  response.end(body);
}

function stream(response, count) {
  let left = count;
  const more = () => {
    while (left-- > 0) {
      if (!response.write(piece)) return response.once("drain", more);
    }
    return response.end();
  };
  more();
}

function events(response) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write("data: one\n\n");
  confirmed = () => response.end("data: two\n\n");
}

function serve(request, response) {
  const [, what, size] = request.url.split("?")[0].split("/");
  switch (what) {
    case "echo":
      return echo(request, response);
    case "counted":
      response.setHeader("Content-Length", size);
      return stream(response, size / piece.length);
    case "chunked":
      return stream(response, size / piece.length);
    case "endless":
      response.shouldKeepAlive = false;
      response.useChunkedEncodingByDefault = false;
      return stream(response, size / piece.length);
    case "cookies":
      return reply(response, 200, { "Set-Cookie": ["a=1; Path=/", "b=2; HttpOnly"] }, "ok");
    case "gzip":
      return reply(response, 200, { "Content-Encoding": "gzip", Vary: "accept-encoding" }, gzipped);
    case "status":
      return reply(response, Number(size), { ETag: '"x"' }, ["204", "304"].includes(size) ? "" : "body");
    case "events":
      return events(response);
    case "confirm":
      confirmed();
      return reply(response, 204, {}, "");
    case "name":
      return reply(response, 200, {}, name);
    default:
      return reply(response, 404, {}, "nothing here");
  }
}

// Node closes a connection that was idle for five seconds. A POST that crosses that end is lost, as it is without the
// gateway.
const server = http.createServer({ keepAliveTimeout: 600_000 }, serve);
server.listen(0, host, () => console.log(server.address().port));
