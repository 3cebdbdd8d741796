// A proxy on loopback that adds an agent's token to every request and changes nothing else: for
// clients that cannot send one. The port of the gateway is its argument, the token the first line
// of its input; it says its own port.
//
// `Host` and `Origin` that name the proxy name the gateway afterwards; others stay as they are, for
// the gateway to refuse.
import http from "node:http";
import { createInterface } from "node:readline/promises";

const port = process.argv[2];
const token = await createInterface({ input: process.stdin }).question("");

const server = http.createServer((request, response) => {
  const headers = { ...request.headers, authorization: `Bearer ${token}` };
  const own = `:${server.address().port}`;
  for (const name of ["host", "origin"]) {
    if (headers[name]?.endsWith(own)) {
      headers[name] = `${headers[name].slice(0, -own.length)}:${port}`;
    }
  }
  const { method, url: path } = request;
  const options = { host: "127.0.0.1", port, method, path, headers, agent: false };
  const onward = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    response.flushHeaders();
    answer.pipe(response);
    answer.on("error", () => response.destroy());
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
