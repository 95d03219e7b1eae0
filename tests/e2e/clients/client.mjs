// Node's fetch and http clients; the lines in and out are described in as_programs.py.
import { readFileSync, writeFileSync } from "node:fs";
import http from "node:http";
import { Readable } from "node:stream";

const [kind, base] = process.argv.slice(2);
const SENT = { "X-App": "kept", "Sidegate-Priority": "high" };
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

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

function withHttp({ method, path, body, mode }) {
  return new Promise((resolve, reject) => {
    const headers = { ...SENT };
    if (mode === "expect") headers.Expect = "100-continue";
    if (body && mode !== "chunked") headers["Content-Length"] = body.length;
    const request = http.request(base + path, { method, headers, agent }, (answer) => {
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
agent.destroy();
