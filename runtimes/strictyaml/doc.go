// Package strictyaml reads a YAML file that people have written, and reports
// every fault of it at once, each with its line.
//
// Unknown keys, wrong types and duplicate keys are faults; so are the parts of
// YAML that surprise people or serve attackers: several documents, merge keys,
// custom tags, deep nesting, and aliases that multiply.
package strictyaml
