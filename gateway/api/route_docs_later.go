package api

import (
	"attune/gateway/execution"
	"attune/gateway/openapi"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/schedule"
)

// Groups of routes about what runs later.
const (
	tagDead      = "dead letters"
	tagSchedules = "schedules"
)

var (
	acceptedHeaders = []string{"Location", "Attune-Execution-Id"}
	createdAnswer   = answersJSON(201, execution.Execution{}, acceptedHeaders...)
	scheduleAnswer  = answersJSON(200, schedule.Entry{})

	// acceptedLater is the answer to a call that is stored to be run.
	acceptedLater = openapi.Answer{Status: 202, Detail: "It is stored and will run: Prefer asked for that, or for no more time than has passed.",
		Media: []string{"application/json"}, Body: execution.Execution{}, Headers: append([]string{"Preference-Applied"}, acceptedHeaders...)}

	queueProblems    = append([]string{execution.CodeOverloaded, execution.CodeStateUnavailable, codeRateLimited}, changeProblems...)
	scheduleProblems = append([]string{codeAlreadyExists, codeInPack, execution.CodeLimitExceeded}, queueProblems...)
)

// laterDocs are the routes about executions that nobody waits for.
var laterDocs = map[string]routeDoc{
	"POST /api/v1/executions/execute": {tag: tagExecutions, summary: "Run an action later", answers: createdAnswer, problems: queueProblems,
		body: members(openapi.Object{
			"action_ref": openapi.Object{"type": "string", "pattern": actionPattern}, "parameters": openapi.Object{"type": "object"},
			"timeout": described("string", "Seconds, or a duration."), "delay": described("string", "Likewise: when it starts at the soonest."),
			"priority": openapi.Object{"type": "string", "enum": []any{"", "high", "normal", "low"}},
		}, "action_ref")},
	"POST /api/v1/executions/:id/retry": {tag: tagExecutions, summary: "Run it once more", body: noMembers, answers: createdAnswer,
		problems: append([]string{queue.CodeNotEnded, codeNothingKept}, queueProblems...)},

	"GET /api/v1/dead":     {tag: tagDead, summary: "Executions whose retries are spent", answers: answersJSON(200, page[letterPayload]{}), problems: storeProblems},
	"GET /api/v1/dead/:id": {tag: tagDead, summary: "One of them, with its parameters", answers: answersJSON(200, letterPayload{}), problems: storeProblems},
	"DELETE /api/v1/dead/:id": {tag: tagDead, summary: "Forget it", answers: noAnswer, problems: queueProblems,
		detail: "The record of its execution stays."},
	"POST /api/v1/dead/:id/redrive": {tag: tagDead, summary: "Run it once more", body: noMembers, answers: createdAnswer, problems: queueProblems},

	"GET /api/v1/schedules": {tag: tagSchedules, summary: "All schedules", answers: answersJSON(200, page[schedule.Entry]{}), problems: storeProblems},
	"POST /api/v1/schedules": {tag: tagSchedules, summary: "Store a schedule", body: pack.ScheduleSpec{}, problems: append([]string{codeBodyTooLarge}, scheduleProblems...),
		answers: answersJSON(201, schedule.Entry{}, "Location")},
	"GET /api/v1/schedules/:ref":         {tag: tagSchedules, summary: "One schedule: when it runs, and what became of the last time", answers: scheduleAnswer, problems: storeProblems},
	"DELETE /api/v1/schedules/:ref":      {tag: tagSchedules, summary: "Delete a stored schedule", answers: noAnswer, problems: scheduleProblems},
	"POST /api/v1/schedules/:ref/run":    {tag: tagSchedules, summary: "Run it now", body: noMembers, answers: answersJSON(202, execution.Execution{}, acceptedHeaders...), problems: scheduleProblems},
	"POST /api/v1/schedules/:ref/pause":  {tag: tagSchedules, summary: "Let no time of it run", body: noMembers, answers: scheduleAnswer, problems: scheduleProblems},
	"POST /api/v1/schedules/:ref/resume": {tag: tagSchedules, summary: "Let its times run again", body: noMembers, answers: scheduleAnswer, problems: scheduleProblems},
}
