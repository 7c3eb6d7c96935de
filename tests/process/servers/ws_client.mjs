// The conversation of tests/harness/websocket_clients.py, had by npm's ws: `node ws_client.mjs URL`. Prints what was
// heard as JSON.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";

const MANY = 500;

// Messages are kept until they are asked for.
async function connect() {
  const socket = new WebSocket(process.argv[2], { perMessageDeflate: true, maxPayload: 2 ** 25 });
  const kept = [];
  let waiting = null;
  const closed = new Promise((resolve) => socket.on("close", (code, reason) => resolve([code, reason.toString()])));
  socket.on("message", (data, binary) => {
    kept.push(binary ? data : data.toString());
    waiting?.();
  });
  await once(socket, "open");
  const receive = async () => {
    while (!kept.length) await new Promise((resolve) => (waiting = resolve));
    return kept.shift();
  };
  return { socket, receive, closed };
}

const heard = {};
const first = await connect();
heard.extensions = first.socket.extensions.includes("permessage-deflate");
const large = randomBytes(8 * 1024 * 1024);
first.socket.send(large);
heard.large = large.equals(await first.receive());
const small = Array.from({ length: MANY }, (_, number) => `message ${number}`);
for (const message of small) first.socket.send(message);
heard.many = true;
for (const message of small) heard.many &&= (await first.receive()) === message;
first.socket.send("in ", { fin: false });
first.socket.send("three ", { fin: false });
first.socket.send("pieces", { fin: true });
heard["fragments up"] = (await first.receive()) === "in three pieces";
first.socket.send("fragments");
heard["fragments down"] = (await first.receive()) === "in three pieces";
const pong = once(first.socket, "pong");
first.socket.ping("over there?");
heard.ping = (await pong)[0].toString() === "over there?";
first.socket.send("ping");
heard.pinged = (await first.receive()) === "pong";
first.socket.close(4001, "bye");
heard["closed by client"] = await first.closed;

const second = await connect();
second.socket.send("close");
heard["closed by server"] = await second.closed;
console.log(JSON.stringify(heard));
