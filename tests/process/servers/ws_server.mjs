// The server of tests/harness/websocket_servers.py, of npm's ws. Its first line of output is its port.
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: true, maxPayload: 2 ** 25 });
server.on("listening", () => console.log(server.address().port));
server.on("connection", (socket) => {
  socket.on("pong", () => socket.send("pong"));
  socket.on("message", (data, binary) => {
    const text = binary ? "" : data.toString();
    if (text === "fragments") {
      socket.send("in ", { fin: false });
      socket.send("three ", { fin: false });
      socket.send("pieces", { fin: true });
    } else if (text === "ping") socket.ping("here?");
    else if (text === "close") socket.close(4002, "enough");
    else socket.send(data, { binary });
  });
});
