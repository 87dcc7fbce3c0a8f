// Package node runs one node of a devserver: a wardend and a worker with directories, socket, ports and addresses of
// their own.
//
//	Prepare -> StartWardend -> (answers Ping) -> StartWorker -> (Node workflow says READY) -> StopWorker -> StopWardend
//	                                                                                                          |
//	                                                      containers live on <--------------------------------+--> DestroyContainers
package node
