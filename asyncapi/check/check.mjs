// Parses documents with AsyncAPI's own parser; every error and every warning is a failure, a hint is only shown.
import { readFile } from "node:fs/promises";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const parser = new Parser();
let failures = 0;

for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(await readFile(file, "utf8"), { source: file });
  const bad = diagnostics.filter(({ severity }) => severity <= DiagnosticSeverity.Warning);
  for (const { severity, code, path, message } of diagnostics) {
    console.log(`  ${DiagnosticSeverity[severity]}: ${message} (${code}, at ${path.join(".") || "the top"})`);
  }
  console.log(`${file}: ${bad.length} errors and warnings, ${diagnostics.length - bad.length} hints`);
  failures += document ? bad.length : bad.length || 1;
}
process.exit(failures ? 1 : 0);
