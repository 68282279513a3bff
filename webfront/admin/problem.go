package admin

import "parley/webfront/answer"

// Problem is an error as it goes to the client.
type Problem = answer.Problem

// ProblemRow is a bad row of an import.
type ProblemRow = answer.ProblemRow

// Codes that are not refusals of the rules.
const CodeCorrupt, CodeUnauthenticated = answer.CodeCorrupt, answer.CodeUnauthenticated
