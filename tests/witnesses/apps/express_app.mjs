// Express as it comes: routes ignore letter case and a slash at the end. node express_app.mjs PORT

import express from "express";

const sites = ["admin.test", "192.0.2.7", "[2001:db8::7]"];
const app = express();

function reporting(handler) {
  return (request, response) => {
    const host = request.hostname ?? "";
    request.resume();
    request.on("end", () =>
      response.json({
        method: request.method,
        path: request.path,
        raw: request.originalUrl,
        host,
        site: sites.includes(host.toLowerCase()) ? host : "",
        handler,
        remote: request.ip,
        fields: Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      }),
    );
  };
}

app.all("/admin{/*rest}", reporting("admin"));
for (const method of ["post", "put", "patch", "delete"]) app[method]("/items{/*rest}", reporting("change"));
app.all("/items{/*rest}", reporting("items"));
app.use(reporting("open"));
app.listen(Number(process.argv[2]), "127.0.0.1");
