// Package controller is the typed client for whoever controls the platform: it stages apps, keeps them at a wanted
// number of instances, reads what is, and takes nodes out of work and back.
//
//	c, err := controller.Dial(ctx, controller.Options{Temporal: cfg.Temporal})
//	staging, err := c.Stage(ctx, request)     // StageApp begins, in place of the app's earlier ones
//	result, err := staging.Wait(ctx)          // a droplet, or why there is none
//	status, err := c.Run(ctx, spec)           // EvaluateHealth keeps it running
//	status, err = c.Scale(ctx, app, 3)
//
// Everything is a workflow, started, asked and told by name; a Client keeps no state of its own, so any number of
// programs may control one platform, and a program that dies loses nothing but its wait.
//
// Each call ends within CallTimeout, but for those whose comment says that they wait. An error's text is for the
// user and says what to do; errors.Is tells its kind (ErrNoSuchApp, ErrUnreachable, …), errors.As with *Error gives the
// parts, and api.Explain the type of a failure that a workflow reported.
package controller
