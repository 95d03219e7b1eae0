// Node's fetch and http clients; the lines in and out are described in as_programs.py.
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";

const [kind, base, ...headers] = process.argv.slice(2);
const SENT = Object.fromEntries(headers.map((header) => header.split(": ")));
const KEPT = { keepAlive: true, maxSockets: 1 };
const agents = { "http:": new http.Agent(KEPT), "https:": new https.Agent(KEPT) };
const spared = (process.env.NO_PROXY ?? "").split(",");

function pieces(body) {
  const parts = [];
  for (let at = 0; at < body.length; at += 10000) parts.push(body.subarray(at, at + 10000));
  return Readable.from(parts);
}

async function withFetch({ method, path, body, mode }) {
  const options = { method, headers: SENT };
  if (body) options.body = mode === "chunked" ? Readable.toWeb(pieces(body)) : body;
  if (mode === "chunked") options.duplex = "half";
  const answer = await fetch(base + path, options);
  const content = Buffer.from(await answer.arrayBuffer());
  const pairs = [...answer.headers].filter(([name]) => name !== "set-cookie");
  for (const cookie of answer.headers.getSetCookie()) pairs.push(["set-cookie", cookie]);
  return { status: answer.status, pairs, content };
}

// Where a request goes: as http takes it, or, told of a proxy, as packages do that read HTTP_PROXY.
function destination(path) {
  const url = new URL(base + path);
  const proxy = process.env.HTTP_PROXY;
  if (kind !== "http-told" || !proxy || url.protocol !== "http:" || spared.includes(url.hostname)) {
    return { web: url.protocol === "https:" ? https : http, agent: agents[url.protocol], to: base + path, host: url.host };
  }
  const { hostname, port } = new URL(proxy);
  return { web: http, agent: agents["http:"], to: { hostname, port, path: base + path }, host: url.host };
}

function withHttp({ method, path, body, mode }) {
  return new Promise((resolve, reject) => {
    const { web, agent, to, host } = destination(path);
    const headers = { Host: host, ...SENT };
    if (mode === "expect") headers.Expect = "100-continue";
    if (body && mode !== "chunked") headers["Content-Length"] = body.length;
    const options = { method, headers, agent };
    const given = typeof to === "string" ? [to, options] : [{ ...to, ...options }];
    const request = web.request(...given, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        const pairs = [];
        for (let i = 0; i < answer.rawHeaders.length; i += 2) pairs.push(answer.rawHeaders.slice(i, i + 2));
        resolve({ status: answer.statusCode, pairs, content: Buffer.concat(parts) });
      });
    });
    request.on("error", reject);
    if (mode === "expect") request.on("continue", () => request.end(body));
    else if (mode === "chunked") pieces(body).pipe(request);
    else request.end(body);
  });
}

for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const [method, path, bodyFile, mode, answerFile] = line.split("\t");
  const body = bodyFile === "-" ? undefined : readFileSync(bodyFile);
  const answer = await (kind === "fetch" ? withFetch : withHttp)({ method, path, body, mode });
  writeFileSync(answerFile, answer.content);
  console.log([answer.status, ...answer.pairs.map(([name, value]) => `${name}: ${value}`)].join("\t"));
}
for (const agent of Object.values(agents)) agent.destroy();
